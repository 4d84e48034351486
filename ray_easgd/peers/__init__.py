"""What a user would use instead, on the same work: ``ray-easgd benchmark peers``.

    workload.py      the work, one definition for all
    loop.py          the training loop, one for all; what a peer adds is its tie
    record.py        what a worker leaves behind: a journal, and snapshots of the weights
    contenders.py    who takes part, and how each is started
    tries.py         a contender as it is asked for, with settings of its own
    environments.py  what a contender needs beside our own packages
    trial.py         one contender once: its processes, faults, memory
    rows.py          a trial's numbers, out of its journals
    evaluation.py    its snapshots, tested after the run

The other files are the peers' programs, one a peer. Those on Ray are in ``actors/peers``.
"""
