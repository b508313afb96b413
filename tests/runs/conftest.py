from tests.training.conftest import accelerator, accelerators, trains

__all__ = ["accelerator", "accelerators", "trains"]
