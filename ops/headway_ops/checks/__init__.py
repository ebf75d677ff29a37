"""What `headway doctor` looks at, one module for each neighbour: host, NATS, Postgres, Docker.

Each asks for plain facts at its edge and judges them in pure functions: facts to findings.
"""
