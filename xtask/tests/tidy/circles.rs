//! Circles between the files of a crate, by what each imports from the others.
//!
//! A file imports from the file that defines what it names: a path is followed through re-exports.
//! A re-export (`pub use`, `pub(crate) use`) is itself no import, as it only gives a name to
//! others: a folder's `mod.rs` may re-export what its files define, and they may use what `mod.rs`
//! defines, as long as no code of `mod.rs` uses it. Tests are left out, and so is what macros make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// A module by its path from the root of the crate.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    /// What `use` brings in: a name, and the path that it stands for.
    names: BTreeMap<String, Vec<String>>,
    /// Paths whose every name is brought in.
    globs: Vec<Vec<String>>,
    /// Every path that begins inside the crate.
    paths: Vec<Vec<String>>,
}

#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

/// The circles of the crate with this `src` folder: files, each by its path in it.
pub(crate) fn in_crate(source: &Path) -> Vec<Vec<String>> {
    let mut all = Crate::default();
    for root in ["lib.rs", "main.rs"].map(|name| source.join(name)) {
        if root.exists() {
            all.modules.clear();
            all.read(Vec::new(), &root, source);
            let circles = all.circles(source);
            if !circles.is_empty() {
                return circles;
            }
        }
    }
    Vec::new()
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = attribute
            .meta
            .require_list()
            .map(|list| list.tokens.to_string());
        attribute.path().is_ident("cfg") && tokens.is_ok_and(|tokens| tokens == "test")
    })
}

impl Crate {
    /// Reads the module at `path` from `file`; its children lie in `folder`.
    fn read(&mut self, path: ModulePath, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).expect("a source file");
        let parsed = syn::parse_file(&text).expect("source that compiles");
        self.add(path, &parsed.items, file, folder);
    }

    fn add(&mut self, path: ModulePath, items: &[Item], file: &Path, folder: &Path) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            match item {
                Item::Mod(child) if is_test(&child.attrs) => {}
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let inner = [path.clone(), vec![name.clone()]].concat();
                    let below = folder.join(&name);
                    if let Some((_, items)) = &child.content {
                        self.add(inner, items, file, &below);
                    } else if let Some(file) = [below.with_extension("rs"), below.join("mod.rs")]
                        .into_iter()
                        .find(|file| file.exists())
                    {
                        self.read(inner, &file, &below);
                    }
                    module.children.insert(name);
                }
                Item::Use(used) if is_test(&used.attrs) => {}
                Item::Use(used) => {
                    let imports = matches!(used.vis, Visibility::Inherited);
                    module.bring(&used.tree, Vec::new(), imports);
                }
                _ => module.visit_item(item),
            }
        }
        self.modules.insert(path, module);
    }

    /// The path from the root that `path` stands for in the module `at`; `None` for one that
    /// begins outside.
    fn absolute(&self, at: &[String], path: &[String]) -> Option<Vec<String>> {
        let module = self.modules.get(at)?;
        let (first, rest) = path.split_first()?;
        let joined = |start: &[String]| Some([start, rest].concat());
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => joined(at),
            "super" => self.absolute(
                &at[..at.len().checked_sub(1)?],
                &[&["self".to_owned()], rest].concat(),
            ),
            name if module.children.contains(name) => Some([at, path].concat()),
            name => {
                let target = module.names.get(name)?;
                if target.first().map(String::as_str) == Some(name) {
                    return None;
                }
                joined(&self.absolute(at, target)?)
            }
        }
    }

    /// The file that defines what a path from the root names.
    fn definition(&self, path: &[String], depth: usize) -> Option<&Path> {
        let known = (0..=path.len())
            .rev()
            .find(|len| self.modules.contains_key(&path[..*len]))?;
        let module = &self.modules[&path[..known]];
        let Some(name) = path.get(known) else {
            return Some(&module.file);
        };
        if depth > 16 {
            return None;
        }
        let through = |target: &[String]| {
            let start = self.absolute(&path[..known], target)?;
            let rest = [start, path[known + 1..].to_vec()].concat();
            self.definition(&rest, depth + 1)
        };
        if let Some(target) = module.names.get(name) {
            // A name from another crate is defined in none of these files.
            return through(target);
        }
        let glob = module.globs.iter().find_map(|glob| {
            let start = self.absolute(&path[..known], glob)?;
            let inner = self.modules.get(&start)?;
            let public = inner.names.contains_key(name) || inner.children.contains(name);
            public.then(|| self.definition(&[start, path[known..].to_vec()].concat(), depth + 1))?
        });
        Some(glob.unwrap_or(&module.file))
    }

    fn circles(&self, source: &Path) -> Vec<Vec<String>> {
        let mut arrows: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let targets = module
                .paths
                .iter()
                .filter_map(|path| self.absolute(at, path))
                .filter_map(|path| self.definition(&path, 0))
                .filter(|file| *file != module.file);
            arrows.entry(&module.file).or_default().extend(targets);
        }
        let reach = |from: &Path| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Path> = arrows[from].iter().copied().collect();
            while let Some(file) = next.pop() {
                if seen.insert(file) {
                    next.extend(&arrows[file]);
                }
            }
            seen
        };
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            arrows.keys().map(|file| (*file, reach(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, there) in &reached {
            let circle: Vec<String> = there
                .iter()
                .filter(|other| there.contains(file) && reached[**other].contains(file))
                .map(|file| {
                    file.strip_prefix(source)
                        .unwrap_or(file)
                        .display()
                        .to_string()
                })
                .collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

impl Module {
    /// Takes in a tree of `use` behind `before`: names, and paths where it `imports`.
    fn bring(&mut self, tree: &UseTree, before: Vec<String>, imports: bool) {
        let with = |name: &syn::Ident| [before.clone(), vec![name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => return self.bring(&path.tree, with(&path.ident), imports),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.bring(tree, before.clone(), imports);
                }
                return;
            }
            UseTree::Glob(_) => {
                self.globs.push(before.clone());
                (None, before)
            }
            UseTree::Name(name) if name.ident == "self" => (before.last().cloned(), before),
            UseTree::Name(name) => (Some(name.ident.to_string()), with(&name.ident)),
            UseTree::Rename(name) => (Some(name.rename.to_string()), with(&name.ident)),
        };
        if let Some(name) = name {
            self.names.insert(name, path.clone());
        }
        if imports {
            self.paths.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    // The path in `pub(crate)` or `pub(super)` names no item.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.paths.push(segments.collect());
        syn::visit::visit_path(self, path);
    }
}
