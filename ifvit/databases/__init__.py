"""What lies on disk: databases and their layouts, records of impressions, splits, protocols, and the doctor."""
