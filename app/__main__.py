"""``python -m app`` is ``fit3d``: how ``accelerate launch -m app finetune ...`` starts it in several processes."""

from app.main import entrypoint

if __name__ == "__main__":
    entrypoint()
