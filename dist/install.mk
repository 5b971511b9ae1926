# Installs the program, its units, manual pages, completions and example manifests.
# Included by the Makefile. DESTDIR and PREFIX are honoured; BIN is the built program.
#
#   make install PREFIX=/usr DESTDIR=/tmp/package

PREFIX ?= /usr
DESTDIR ?=
BIN ?= target/dist/hafen
UNITDIR ?= $(PREFIX)/lib/systemd/system
MANDIR ?= $(PREFIX)/share/man/man1
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
EXAMPLEDIR ?= $(PREFIX)/share/doc/hafen/examples
SCHEMADIR ?= $(PREFIX)/share/hafen/schemas
INSTALL ?= install

.PHONY: install uninstall

install: ## install what `make dist` built (PREFIX=/usr, DESTDIR=)
	@[ -x $(BIN) ] || { echo "error: $(BIN) is missing; build it with \`make dist\`, or name another with BIN=" >&2; exit 1; }
	$(INSTALL) -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/hafen
	$(INSTALL) -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(MANDIR) $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	for unit in hafen.service hafen-shutdown.service; do \
	  sed 's,/usr/bin/hafen,$(PREFIX)/bin/hafen,' dist/$$unit > $(DESTDIR)$(UNITDIR)/$$unit && \
	  chmod 0644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; \
	done
	$(BIN) man --out $(DESTDIR)$(MANDIR)
	$(BIN) completion bash > $(DESTDIR)$(BASHDIR)/hafen
	$(BIN) completion zsh > $(DESTDIR)$(ZSHDIR)/_hafen
	$(BIN) completion fish > $(DESTDIR)$(FISHDIR)/hafen.fish
	if [ -d manifests ]; then (cd manifests && find . -type f \( -name '*.yaml' -o -name '*.md' \)) | \
	  while read -r file; do $(INSTALL) -D -m 0644 "manifests/$$file" "$(DESTDIR)$(EXAMPLEDIR)/$$file" || exit 1; done; fi
	if [ -d schemas ]; then $(INSTALL) -d $(DESTDIR)$(SCHEMADIR) && \
	  $(INSTALL) -m 0644 schemas/*.json $(DESTDIR)$(SCHEMADIR)/; fi

uninstall: ## remove what `install` installed; data in /var/lib/hafen stays
	rm -f $(DESTDIR)$(PREFIX)/bin/hafen $(DESTDIR)$(UNITDIR)/hafen.service $(DESTDIR)$(UNITDIR)/hafen-shutdown.service
	rm -f $(DESTDIR)$(MANDIR)/hafen.1 $(DESTDIR)$(MANDIR)/hafen-*.1
	rm -f $(DESTDIR)$(BASHDIR)/hafen $(DESTDIR)$(ZSHDIR)/_hafen $(DESTDIR)$(FISHDIR)/hafen.fish
	rm -rf $(DESTDIR)$(EXAMPLEDIR) $(DESTDIR)$(SCHEMADIR)
