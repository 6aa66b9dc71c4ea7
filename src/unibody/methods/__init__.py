"""Learning and scoring that know no domain."""
