// What the modules of ComfyUI's front end that we import look like.
declare module "*/scripts/app.js" {
  import { ComfyApp } from "@comfyorg/comfyui-frontend-types";
  // nodes, widgets and the managers change from version to version; what is said of them here would be wrong
  export const app: Omit<ComfyApp, "extensionManager" | "registerExtension" | "canvas"> & {
    registerExtension(extension: Record<string, any>): void;
    extensionManager: any;
    canvas: any;
    [name: string]: any;
  };
}

declare module "*/scripts/api.js" {
  import { ComfyApi } from "@comfyorg/comfyui-frontend-types";
  export const api: Omit<ComfyApi, "addEventListener"> & {
    fetchApi(route: string, options?: RequestInit): Promise<Response>;
    addEventListener(type: string, listener: (event: CustomEvent) => void): void;
    [name: string]: any;
  };
}
