"""Update rules, one a file; `ptb_lm.registry.OPTIMIZERS` lists them."""
