"""The common base of the studies: records, tables, statistics, drawing, machine details, checks of settings."""
