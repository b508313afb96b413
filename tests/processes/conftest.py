from tests.training.conftest import accelerator, accelerators, ends_at, trains

__all__ = ["accelerator", "accelerators", "ends_at", "trains"]
