/* What ipywidgets has no words for: the names of sliders and pictures, for those who do not see them. Where no script
   may run, only these are missing. */
const root = this.closest('.deltaedit');
const name = () => {
  for (const box of root.querySelectorAll('.widget-slider')) {
    const label = box.querySelector('.widget-label'), text = box.title || label.title || label.textContent;
    for (const part of box.querySelectorAll('.noUi-handle, .widget-readout')) part.setAttribute('aria-label', text);
    box.querySelector('.widget-readout').setAttribute('role', 'textbox');
  }
  for (const image of root.querySelectorAll('img')) {
    const named = image.matches('.deltaedit-after') ? 'after the edit' : 'before the edit';
    image.alt = image.closest('.deltaedit-step') ? '' : named;
  }
};
name();
new MutationObserver(name).observe(root, {childList: true, subtree: true});
