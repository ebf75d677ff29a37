"""Users, rights and certificates of a NATS server: what `headway nats config` writes.

`rights` is the one table of who may publish and hear what; `plan` puts principals into accounts,
`conf` and `operator` write them down for nats-server, `files` keeps the keys.
"""
