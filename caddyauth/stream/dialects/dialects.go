package dialects
