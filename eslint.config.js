/** The strictest type-aware rules, on every TypeScript file and on the build scripts. */
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["dist/", "dist.next/", "coverage/", "runs/", "native/build/", "native/deps/"] },
  {
    files: ["**/*.ts", "**/*.mts", "**/*.js", "**/*.cjs"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: "error",
      "no-console": "off",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // `const { dropped, ...rest } = value` is how a copy leaves a field out.
      "@typescript-eslint/no-unused-vars": ["error", { ignoreRestSiblings: true }],
      // Keys from outside are read by index everywhere; the compiler's noPropertyAccessFromIndexSignature decides.
      "@typescript-eslint/dot-notation": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },
  {
    // Only the command line prints; everything else reports through its callers.
    files: ["src/**/*.ts"],
    ignores: ["src/cli/**"],
    rules: { "no-console": "error" },
  },
  {
    files: ["scripts/*.cjs"],
    rules: { "@typescript-eslint/no-require-imports": "off" },
  },
  // Scripts of pages run in browsers, whose types would be in force everywhere; tests in a browser hold them.
  { files: ["src/**/*.js"], extends: [tseslint.configs.disableTypeChecked], languageOptions: { parserOptions: { projectService: false } } },
  { files: ["eslint.config.js"], extends: [tseslint.configs.disableTypeChecked] },
);
