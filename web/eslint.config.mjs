import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["node_modules/", "dist/", "eslint.config.mjs", "**/*.d.ts"] },
  js.configs.recommended,
  {
    files: ["src/**/*.ts", "edge/**/*.ts"], // the latter when it runs in the repository's root
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ["./tsconfig.page.json", "./tsconfig.worker.json", "./tsconfig.node.json", "../edge/tsconfig.json"],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      eqeqeq: "error",
    },
  },
  {
    files: ["**/*.mjs"],
    languageOptions: {
      globals: { Buffer: "readonly", console: "readonly", process: "readonly", URL: "readonly" },
    },
  },
  {
    files: ["edge/**/*.mjs"],
    languageOptions: {
      globals: { AbortController: "readonly", Deno: "readonly", Headers: "readonly", Request: "readonly" },
    },
  },
);
