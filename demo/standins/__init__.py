"""Stand-ins for what cannot be had offline; only the demo's and the tests' own servers load this node
package."""


async def comfy_entrypoint():
    """The ComfyUI extension with the one stand-in node."""
    from .nodes import StandInExtension

    return StandInExtension()
