"""ComfyUI-SemanticFocus: what ComfyUI imports."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The extension with all nodes. ComfyUI reports an error in here without a traceback, so it is logged
    first.
    """
    import logging

    try:
        from .nodes import SemanticFocusExtension
    except Exception:
        logging.exception("ComfyUI-SemanticFocus could not be loaded")
        raise
    return SemanticFocusExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
