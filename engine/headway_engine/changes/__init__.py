"""What the messages of RUNS do to a run where RUNS is the truth (the edge); pure.

1. `messages` the bodies, and the record of a run that they add up to.
2. `fold`     from a record and the next message to the next record.

The edge's store makes its projection with them, a hub its rows of the sites' runs.
"""
