"""What charrnn-sample writes: texts, scores, on standard output."""
