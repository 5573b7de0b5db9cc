"""What is wrong on host, domain and guest, on what evidence, and the fix. Probes ask; what they judge by is pure."""
