"""Update rules, one per file; `ptb_lm.registry.OPTIMIZERS` lists them."""
