"""How nodes bring each other up to date: the messages, and a pure planner of what to fetch from whom."""
