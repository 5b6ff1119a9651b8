// Where the pack comes from; both as pyproject.toml has them.
export const VERSION = "0.2.0";
export const REPOSITORY = "https://github.com/ComfyUI-SemanticFocus/ComfyUI-SemanticFocus";
