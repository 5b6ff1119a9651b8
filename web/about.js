// What the editor's About page says of the pack.
import { app } from "../../scripts/app.js";
import { REPOSITORY, VERSION } from "./lib/pack.mjs";

app.registerExtension({
  name: "SemanticFocus.About",
  aboutPageBadges: [{ label: `SemanticFocus ${VERSION}`, url: REPOSITORY, icon: "pi pi-github" }],
});
