"use strict";
(() => {
  const root = document.documentElement;
  const everyMs = 1000 * Number(root.dataset.refresh);
  const report = root.dataset.report;
  const place = report ? ` Its report: ${report}` : "";
  const banner = document.getElementById("connection");
  let over = false;

  function say(words) {
    banner.textContent = words;
    banner.hidden = !words;
  }

  // Only what changed is replaced, so that a selection or a scrolled table stays.
  function patch(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    document.title = fresh.title;
    for (const part of fresh.querySelectorAll("main > section")) {
      const old = document.getElementById(part.id);
      if (!old || old.innerHTML === part.innerHTML) continue;
      const scrolled = [...old.querySelectorAll(".scroll, .pan")].map((e) => [e.scrollTop, e.scrollLeft]);
      old.replaceChildren(...document.importNode(part, true).childNodes);
      old.querySelectorAll(".scroll, .pan").forEach((e, k) => {
        if (scrolled[k]) [e.scrollTop, e.scrollLeft] = scrolled[k];
      });
    }
  }

  async function look() {
    if (over) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { cache: "no-store" });
        if (answer.ok) {
          patch(await answer.text());
          say("");
        } else {
          say(`The page's server refuses (${answer.status}): ask for a new link with ray-easgd dashboard live.`);
        }
      } catch {
        if (!over) say(`The page's server gives no answer: the run has ended, or the line to it is cut. What is below is the last that was seen.${place}`);
      }
    }
    setTimeout(look, everyMs);
  }

  // This question is answered when the run ends.
  async function waitForTheEnd() {
    try {
      const answer = await fetch("end" + location.search, { cache: "no-store" });
      if (!answer.ok) return;
      if (answer.status === 204) return setTimeout(waitForTheEnd, 0);
      over = true;
      banner.className = "ended";
      say(`${await answer.text()}${place}`);
      const badge = document.getElementById("badge");
      badge.textContent = "ended";
      badge.className = "badge ended";
      document.title = document.title.replace(/^\d+% · /, "ended · ");
    } catch {
      setTimeout(waitForTheEnd, 5 * everyMs);
    }
  }

  setTimeout(look, everyMs);
  waitForTheEnd();
})();
