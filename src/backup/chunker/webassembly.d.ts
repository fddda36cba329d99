/** What is used of the WebAssembly JavaScript interface, which the types of Node leave to those of browsers. */
declare namespace WebAssembly {
  // oxlint-disable-next-line typescript/no-extraneous-class -- as it is in the browser's types
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module);
    readonly exports: Record<string, unknown>;
  }
  interface Memory {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
}
