def write_report(f): raise SystemExit
