"""Takes: the schema before. Gives: the schema after, one file a step. May touch: tables and indexes."""
