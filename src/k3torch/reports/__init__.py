"""What a person sees: run folder, plots, tables."""
