"""Takes: a connection from migrate.upgrade. Gives: the schema. May touch: that connection only."""
