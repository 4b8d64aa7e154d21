"""What all studies share: records, tables, statistics, drawing, machine details."""
