"""How far may traffic move? Specs, judgement and the pure transition of a rollout."""
