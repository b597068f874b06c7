"""What the keeper tells about itself: log lines, alerts, the health page. One event, recorded once, shown in each."""
