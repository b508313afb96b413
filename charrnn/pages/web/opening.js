// From the blocks of the page to a model: base64, gzip, ONNX.

/** The bytes of a base64 text. Throws PageError. */
function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  } catch {
    throw damaged();
  }
}

/** The bytes that were compressed by gzip, whose checksum tells where one of them was changed. Throws PageError. */
async function gunzip(bytes) {
  if (typeof DecompressionStream === "undefined")
    throw new PageError("this browser is too old for the page (it has no DecompressionStream): open it in a newer one");
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw damaged();
  }
}

/** The model in the text of the page's block. Throws PageError. */
async function openModel(block) {
  if (typeof WebAssembly === "undefined")
    throw new PageError("this browser does not let the page run WebAssembly: open it in another one");
  const [file, kernel] = await Promise.all([gunzip(fromBase64(block)), openKernel()]);
  return new Model(file, kernel);
}

async function openKernel() {
  const kernel = await gunzip(fromBase64(KERNEL));
  try {
    return (await WebAssembly.instantiate(kernel)).instance.exports;
  } catch {
    throw new PageError("this browser is too old for the page (it has no SIMD in WebAssembly): open it in a newer one");
  }
}
