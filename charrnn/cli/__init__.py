"""The commands: charrnn-train, charrnn-export, charrnn-sample."""
