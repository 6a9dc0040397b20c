"""Upkeep: what lies under home, what of it goes by the policy, and how it goes without anything else being lost."""
