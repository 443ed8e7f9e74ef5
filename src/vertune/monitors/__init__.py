"""Monitors: each file defines one way to see that what a vertical is asked, or how it answers, has changed."""
