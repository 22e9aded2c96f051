"""The crash harness: real processes are killed, paused and cut off under load, and everything is read back afterwards.

`python -m tests.chaos --faults N --seed S` (`make chaos`). The shape is that of TigerBeetle's Vortex (a supervisor of real
processes, a faulty network) and of Jepsen's checkers (a history of ok, refused and unknown; a final read that, where it
cannot finish, is no pass):

supervisor  one run from start to verdict        plan, faults  what goes wrong and when, from a seed; how it is done
stack       the processes and their proxies      client        the load, each call between two lines in the journal
journal     what was asked and what was told     proxy         a network that loses, cuts, delays and sets traps
evidence    everything read back at the end      checker       evidence against journal, independent of the client
"""
