// Draws the Mermaid diagrams. `just docs` puts mermaid.min.js beside the pages; without it, their source shows.
(() => {
  const diagrams = document.querySelectorAll("code.language-mermaid");
  if (diagrams.length === 0) return;
  const script = document.createElement("script");
  script.src = `${path_to_root}mermaid.min.js`;
  script.onload = () => {
    for (const code of diagrams) {
      const drawing = document.createElement("pre");
      drawing.className = "mermaid";
      drawing.textContent = code.textContent;
      code.closest("pre").replaceWith(drawing);
    }
    const dark = ["coal", "navy", "ayu"].some((theme) => document.documentElement.classList.contains(theme));
    mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default" });
    mermaid.run();
  };
  document.head.append(script);
})();
