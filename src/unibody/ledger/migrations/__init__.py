"""Steps from each version of the ledger to the next; `unibody.ledger.store.migrate` takes them."""
