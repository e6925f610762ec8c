const text = this.dataset.texts.split('|')[this.value], sweep = this.closest('.sweep');
sweep.style.setProperty('--row', this.value);
sweep.querySelector('output').value = text;
this.setAttribute('aria-valuetext', text);
