"""Conversations with apps: messages in their order, actions of the operator, people who take over, other channels; knows no endpoint."""
