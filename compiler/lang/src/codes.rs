//! Every diagnostic code, by family, with one line that says what it means. A code has a page under `compiler/errors/`.

macro_rules! codes {
    ($($(#[$doc:meta])* $family:ident { $($NAME:ident = $name:literal, $summary:literal;)* })*) => {
        $($(#[$doc])* pub mod $family {
            $(#[doc = $summary] pub const $NAME: &str = concat!("arch::", stringify!($family), "::", $name);)*
        })*

        /// All codes with their summaries, in the order of this file.
        pub const ALL: &[(&str, &str)] = &[$($(($family::$NAME, $summary),)*)*];
    };
}

codes! {
    /// The text is not in the form of the language.
    syntax {
        UNEXPECTED = "unexpected", "something else was expected at this place";
        UNCLOSED = "unclosed", "a bracket is opened and never closed";
        UNOPENED = "unopened", "a bracket is closed that was never opened";
        RESERVED_WORD = "reserved_word", "a word of the language stands where a name is expected";
        NUMBER = "number", "a number that is malformed or out of range";
        UNTERMINATED_TEXT = "unterminated_text", "a text whose closing quote is missing";
        BAD_CHARACTER = "bad_character", "a character that has no meaning in the language";
        DUPLICATE_LABEL = "duplicate_label", "a label is given twice in one list";
        POSITIONAL_AFTER_LABEL = "positional_after_label", "an argument without a label follows a labelled one";
        COMPARISON_CHAIN = "comparison_chain", "comparisons do not chain";
        TOO_DEEP = "too_deep", "expressions or brackets are nested too deeply";
        TOO_LARGE = "too_large", "the file is too large to be a spec";
        NOT_TEXT = "not_text", "the file is not UTF-8 text";
    }
    /// Names of blocks, values, dims and files.
    name {
        UNKNOWN = "unknown", "a name that nothing declares";
        UNKNOWN_DIM = "unknown_dim", "a dim that nothing declares";
        UNKNOWN_BLOCK = "unknown_block", "a block, instance or function that does not exist";
        UNKNOWN_MODEL = "unknown_model", "an experiment names a model that does not exist";
        UNKNOWN_EXPERIMENT = "unknown_experiment", "a sweep names an experiment that does not exist";
        UNKNOWN_IMPORT = "unknown_import", "an imported name that its file does not declare";
        DUPLICATE = "duplicate", "one name is declared twice";
        OUTPUT_UNDEFINED = "output_undefined", "an output of a block has no equation";
        CYCLE = "cycle", "equations that depend on each other in a circle";
        RECURSIVE_BLOCK = "recursive_block", "a block that contains itself";
        RECURSIVE_CONST = "recursive_const", "a constant that depends on itself";
        DIM_UNBOUND = "dim_unbound", "a dim of a called block is given neither by an argument nor by a label";
        WRONG_KIND = "wrong_kind", "a name is used as something that it is not";
        UNUSED = "unused", "a declared name that nothing uses";
        IMPORT_CYCLE = "import_cycle", "files that import each other in a circle";
        IMPORT_MISSING = "import_missing", "an imported file that cannot be read";
        IMPORT_OUTSIDE = "import_outside", "an imported file lies outside the folder of the spec";
    }
    /// Dims of tensors.
    shape {
        NOT_SUBSET = "not_subset", "an operator needs the dims of one side within the other's";
        MISMATCH = "mismatch", "two sizes that must be equal differ";
        OVER_MISSING = "over_missing", "a contracted or reduced dim is absent from an operand";
        PORT_DIM_MISSING = "port_dim_missing", "an argument lacks a dim that its port has";
        OUTPUT_DIMS = "output_dims", "an output has other dims than its declaration says";
        ESCAPING_DIM = "escaping_dim", "an output carries a dim that the caller has no name for";
        REPEATED_DIM = "repeated_dim", "a dim occurs twice in one tensor";
        INDIVISIBLE = "indivisible", "a size that is not a whole number";
        AMBIGUOUS_SIZE = "ambiguous_size", "a split that leaves more than one size open";
        SIZE_RANGE = "size_range", "a size that is not between 1 and 2^40";
        TOO_LARGE = "too_large", "a tensor with more elements than can be addressed";
        DOMAIN = "domain", "positions along one dim are used along another";
        DTYPE = "dtype", "a value of another kind of number is needed";
        OUT_OF_RANGE = "out_of_range", "a position or slice outside its dim";
    }
    /// Parameters and their initialisers.
    param {
        INIT_UNKNOWN = "init_unknown", "an initialiser that does not exist";
        INIT_ARGUMENT = "init_argument", "an initialiser is given wrong arguments";
        NEVER_USED = "never_used", "a parameter that nothing uses";
    }
    /// Constant expressions, known before anything runs. Called `constant` because `const` is a word of the compiler's own language.
    constant {
        NOT_CONSTANT = "not_constant", "a value that must be known before running is not";
        TYPE = "type", "a constant of another type is needed";
        OVERFLOW = "overflow", "arithmetic on constants leaves the range of numbers";
        CHOICE = "choice", "a word that is not among the choices";
    }
    /// Calls of blocks and functions.
    call {
        MISSING_ARGUMENT = "missing_argument", "an argument without a default is not given";
        EXTRA_ARGUMENT = "extra_argument", "more arguments than inputs";
        UNKNOWN_LABEL = "unknown_label", "a label that the called block does not know";
        GIVEN_TWICE = "given_twice", "an argument is given by position and by label";
        OUTPUT_COUNT = "output_count", "the number of names on the left differs from the number of outputs";
        TENSOR_NEEDED = "tensor_needed", "a tensor is needed here";
        TOO_MANY = "too_many", "calls are nested too deeply, or a model has more instances than can be held";
    }
    /// `stack` and `share`.
    repeat {
        COUNT = "count", "the number of repetitions is not a whole number from 1";
        CARRY = "carry", "what is repeated does not give back what it takes";
    }
    /// Named inner values.
    tap {
        UNKNOWN = "unknown", "a loss, metric or claim names a tap that does not exist";
    }
    /// Experiments.
    experiment {
        MISSING_SETTING = "missing_setting", "a setting that every experiment needs";
        UNKNOWN_SETTING = "unknown_setting", "a setting that does not exist";
        REPEATED_SETTING = "repeated_setting", "a setting is given twice";
        UNKNOWN_OPTION = "unknown_option", "an option that the setting does not know";
        OPTION_VALUE = "option_value", "the value of an option does not fit";
        UNKNOWN_OPTIMIZER = "unknown_optimizer", "an optimiser that does not exist";
        UNKNOWN_SCHEDULE = "unknown_schedule", "a learning-rate schedule that does not exist";
        CLAIM = "claim", "a claim must compare a measured value with a number";
    }
    /// Data of experiments.
    data {
        UNKNOWN_SOURCE = "unknown_source", "a kind of data that does not exist";
        UNKNOWN_TOKENIZER = "unknown_tokenizer", "a tokenizer that does not exist";
        SPLIT = "split", "the parts of a split are not positive numbers with a sum of at most 1";
        INPUT = "input", "an input of the model that the data does not give";
        NOT_A_STREAM = "not_a_stream", "an update on the way through examples that do not go on";
        MISSING = "missing", "a file of the data that does not exist";
        NOT_A_FILE = "not_a_file", "a path of the data that leads to no file";
        UNREADABLE = "unreadable", "a file of the data that the system does not let be read";
        OUTSIDE_ROOTS = "outside_roots", "a file of the data that lies outside the folders that may be read";
        EMPTY = "empty", "a file of the data with nothing in it";
        NOT_UTF8 = "not_utf8", "text that is not UTF-8 though its tokenizer reads characters";
        TOO_SHORT = "too_short", "a part of the data with too few tokens for one context";
        BAD_LINE = "bad_line", "a line of a jsonl file that is no object with a text";
        ODD_SIZE = "odd_size", "a file of tokens whose size is no multiple of a token's";
        OUTSIDE_VOCABULARY = "outside_vocabulary", "a token that lies outside the vocabulary";
        BAD_TOKENIZER = "bad_tokenizer", "a file that is no tokenizer";
        TOKENIZING = "tokenizing", "a tokenizer that fails on a text";
        BAD_SPLIT = "bad_split", "numbers that are no split, given to the library";
        BAD_CONTEXT = "bad_context", "a context of no tokens, or of more than can be held";
        NO_CONTEXT = "no_context", "a part of the data without a context to evaluate on";
    }
    /// Sweeps.
    sweep {
        UNKNOWN_KEY = "unknown_key", "a key that names no constant, dim or setting";
        REPEATED_KEY = "repeated_key", "a key is varied twice";
        EMPTY = "empty", "a sweep with nothing to vary";
        TYPE = "type", "a value of a sweep has another type than what it replaces";
    }
    /// `--set`.
    set {
        UNKNOWN_KEY = "unknown_key", "a key of `--set` that names no constant, dim or setting";
        TYPE = "type", "a value of `--set` that does not fit its key";
        NO_EFFECT = "no_effect", "a key to vary that does not change what is to be matched";
        NO_SOLUTION = "no_solution", "no value of the key to vary reaches what is to be matched";
    }
    /// Gradients.
    grad {
        NO_PATH = "no_path", "a loss does not depend on any parameter";
        STEP = "step", "a training step that cannot be derived";
        UNITS_MIX = "units_mix", "units of a state read each other, which `rtrl` does not admit";
        NO_STATE = "no_state", "`rtrl` of a model without a state";
        SCANS_STACKED = "scans_stacked", "one scan feeds another, which `rtrl` does not admit";
        ACROSS_SEGMENTS = "across_segments", "a position of a stream that depends on others by no scan forward";
        WITHIN_STEP = "within_step", "the step of a state holds what `rtrl` cannot pass";
    }
    /// Cells.
    cell {
        PREV_OUTSIDE = "prev_outside", "`prev` or `state` outside a cell";
        NOT_A_STATE = "not_a_state", "`prev` of what is no state";
        NO_UPDATE = "no_update", "a state without an equation for its new value";
        CYCLE = "cycle", "a state needs its own new value: the circle does not pass through `prev`";
        STATE_DIMS = "state_dims", "a state whose start or new value has other dims than the state";
        START = "start", "a start value that is not there before the first step";
        NOT_SCANNED = "not_scanned", "a cell is called without `scan`";
        ALONG_MISSING = "along_missing", "a scan along a dim that no argument has";
        OWN_DIM = "own_dim", "a scan along a dim that the step has itself";
        UNBOUNDED_KEY = "unbounded_key", "a state is corrected along a key whose length nothing bounds";
    }
    /// Selections: `top` and what is indexed with it.
    selection {
        COUNT = "count", "`top` selects none, or more positions than there are";
        DIM_MISSING = "dim_missing", "a selection is used on a tensor without the dim that it is over";
        MIXED = "mixed", "different selections of one dim are combined, or a selection with all of it";
        PART = "part", "one of several dims that were selected over together is named alone";
    }
    /// Runs and their folders.
    run {
        EXISTS = "exists", "the folder of a new run holds one already";
        NONE = "none", "a folder that holds no run";
        BUSY = "busy", "another process trains in the folder";
        BAD_LOCK = "bad_lock", "a description of a run or of a finished point that cannot be understood";
        WRITE = "write", "a file of a run cannot be written";
        READ = "read", "a file of a run cannot be read";
        FILE = "file", "a file of a run cannot be replaced";
        CHANGED = "changed", "a run that would not go on as it began";
        NON_FINITE = "non_finite", "a loss or gradient that is no number";
        UNEVEN = "uneven", "a batch that does not fall into equal micro-batches";
    }
    /// Checkpoints.
    checkpoint {
        WRITE = "write", "a checkpoint cannot be written";
        UNREADABLE = "unreadable", "a file of a checkpoint cannot be read";
        NONE = "none", "a run without a whole checkpoint";
        DAMAGED = "damaged", "a checkpoint that is not as it was written";
        RENAMED = "renamed", "a checkpoint whose folder names another step";
        FOREIGN = "foreign", "a checkpoint of another model";
    }
    /// Plans.
    plan {
        MEMORY = "memory", "a run that needs more memory than there is";
    }
    /// Devices.
    device {
        EXECUTE = "execute", "a graph that the device cannot compile or run";
    }
    /// Faults of ogive.
    internal {
        LOWERING = "lowering", "a fault in ogive: a graph that cannot be made from a checked spec";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, summary) in ALL {
            assert!(seen.insert(code), "{code} is listed twice");
            assert_eq!(code.split("::").count(), 3, "{code}");
            assert!(!summary.is_empty() && !summary.ends_with('.'), "{code}");
        }
    }
}
