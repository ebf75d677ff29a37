"""Scripted replays: script to plan to job to report."""
