"""Scores, reports and the quality gate: functions of predictions and references."""
