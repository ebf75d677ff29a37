"""The simulator: the real lifecycle and reference store under a fake world, one seed = one history.

A virtual clock, a bus that loses, repeats, delays and reorders, a store that goes away and fails
over with lost commits, two engines, two agents, containers with stale views, people who cancel and
decide. First a phase of faults with the safety invariants checked after each step, then everything
heals and must come to an end. The invariants (`oracle`) are stated anew here, from the words of the
contract: nothing of the code under test is asked whether it is right.

    python -m chaos.sim --seeds 50000          many seeds, then the table of what was reached
    python -m chaos.sim --seed 17              one seed with its trace

`world` the clock, the bus and the store · `engines` · `agents` · `containers` · `people`: callers,
operators · `plan` what is drawn for a seed · `history` the two phases of a seed.
"""
