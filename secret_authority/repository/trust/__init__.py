"""The root of trust: recipients, the rules of sops for them, and what is sealed to them."""
