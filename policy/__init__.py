"""The policy pack: the rule of one authority over stacks, states and Git trees."""
