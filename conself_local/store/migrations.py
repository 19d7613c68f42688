"""Define the schema as numbered migrations: a store of any earlier version is brought up to date when it is opened.

A store remembers which migrations it has had, so a change of the schema must be a new migration.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("conself")

_SCHEMA = """
create table problems (
  id text primary key, content_hash text not null unique, split text not null, kind text not null,
  statement text not null, entry_point text not null, starter_code text not null, inputs text not null,
  reference text, origin text not null, licence text not null
);
create table adapters (
  id integer primary key, name text not null unique, round_id integer not null,
  parent_id integer references adapters(id),
  peft_path text not null, gguf_path text not null, gguf_sha256 text not null,
  state text not null check (state in ('candidate', 'accepted', 'rejected')), created_at_utc text not null
);
create table rounds (
  id integer primary key, seed integer not null, settings text not null, model_path text not null,
  model_sha256 text not null, template_hash text not null, base_adapter_id integer references adapters(id),
  versions text not null, request text not null, state text not null check (state in ('running', 'done', 'abandoned')),
  created_at_utc text not null
);
create table round_problems (
  round_id integer not null references rounds(id), problem_id text not null references problems(id),
  position integer not null, plain_prompt_id text references prompts(id), primary key (round_id, problem_id)
);
create table prompts (id text primary key, text text not null, token_ids text not null);
create table observations (
  round_id integer not null references rounds(id), problem_id text not null references problems(id),
  number integer not null, text text, outcome text not null check (outcome in ('given', 'plain')),
  tries integer not null, primary key (round_id, problem_id, number)
);
create table programs (id text primary key, problem_id text not null references problems(id), code text not null);
create table samples (
  id text primary key, round_id integer not null references rounds(id),
  problem_id text not null references problems(id),
  observation integer not null, number integer not null, prompt_id text not null references prompts(id),
  program_id text references programs(id), text text not null, token_ids text not null, finish text not null,
  mean_nll real, mean_entropy_bits real, seed integer not null
);
create table behaviours (id text primary key, outputs text not null);
create table executions (
  program_id text not null references programs(id), limits text not null,
  behaviour_id text not null references behaviours(id), load_status text not null, load_detail text not null,
  compiled integer not null, deterministic integer, wall_s real not null, cpu_s real not null,
  primary key (program_id, limits)
);
create table metrics (
  round_id integer not null references rounds(id), problem_id text not null references problems(id),
  samples integer not null, without_program integer not null, valid integer not null, clusters integer not null,
  largest_share real, crash_rate real not null, entropy_bits real, normalised real, mean_nll real,
  mean_entropy_bits real, selected integer not null, primary key (round_id, problem_id)
);
create table sample_scores (
  sample_id text primary key references samples(id), cluster integer, consensus real not null
);
create table pairs (
  id text primary key, round_id integer not null references rounds(id),
  problem_id text not null references problems(id),
  position integer not null, chosen_id text not null references samples(id),
  rejected_id text not null references samples(id), prompt_id text not null references prompts(id),
  weight real not null, excluded integer not null default 0
);
create table stages (
  round_id integer not null references rounds(id), stage text not null, summary text not null,
  primary key (round_id, stage)
);
create table training_steps (
  round_id integer not null references rounds(id), step integer not null, steps integer not null, loss real not null,
  margin real not null, reward_accuracy real not null, chosen_logp_shift real not null, learning_rate real not null,
  gradient_norm real not null, memory_bytes integer not null, seconds real not null, primary key (round_id, step)
);
create table evaluation_samples (
  id text primary key, round_id integer not null references rounds(id), benchmark text not null, arm text not null,
  problem_id text not null references problems(id), mode text not null, number integer not null,
  program_id text references programs(id), text text not null, finish text not null, tokens integer not null,
  seed integer not null, correct integer
);
create table evaluations (
  round_id integer not null references rounds(id), benchmark text not null, result text not null,
  created_at_utc text not null, primary key (round_id, benchmark)
);
create index samples_by_round on samples(round_id, problem_id);
create index samples_by_program on samples(program_id);
create index evaluation_samples_by_round on evaluation_samples(round_id, benchmark, arm);
"""


@migrations(name="0001_first_schema")
def first_schema(db: Database) -> None:
    """Create the tables and indices of the first version."""
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)


@migrations(name="0002_adapters_name_their_model")
def adapters_name_their_model(db: Database) -> None:
    """Add path and sha256 of its model to each adapter, taken from its round.

    An adapter that no round of this home made (round 0: imported) then belongs to a model too.
    """
    for column in ("model_path", "model_sha256"):
        db.execute(f"alter table adapters add column {column} text")
        db.execute(f"update adapters set {column} = (select r.{column} from rounds r where r.id = adapters.round_id)")


@migrations(name="0003_grown_inputs")
def grown_inputs(db: Database) -> None:
    """Add the tables of augmented inputs; `round_problems.grown` is their number per problem, null while undecided."""
    key = "round_id integer not null references rounds(id), problem_id text not null references problems(id)"
    db.execute(f"create table asked_inputs ({key}, texts text not null, primary key (round_id, problem_id))")
    number = "number integer not null, text text not null, primary key (round_id, problem_id, number)"
    db.execute(f"create table grown_inputs ({key}, {number})")
    db.execute("alter table round_problems add column grown integer")


@migrations(name="0004_pairs_of_every_problem")
def pairs_of_every_problem(db: Database) -> None:
    """Add the number of pairs that a problem gives if it is selected; null if it was scored by an earlier version."""
    db.execute("alter table metrics add column pairs integer")
    db.execute("create index samples_by_round_rowid on samples(round_id)")


@migrations(name="0005_tokens_of_samples")
def tokens_of_samples(db: Database) -> None:
    """Add the number of tokens of a sample whose token ids were removed to free disk space; null if it has them."""
    db.execute("alter table samples add column tokens integer")


@migrations(name="0009_answers_have_addresses")
def answers_have_addresses(db: Database) -> None:
    """Add the address of each evaluation answer, what it is made from, and the table of log-probabilities of answers.

    Answers of an earlier version have no address, so they are not used again (`stages/answers.py`).
    """
    columns = (
        "answer_id text", "source text", "prompt_id text references prompts(id)", "token_ids text", "mean_nll real",
    )  # fmt: skip
    for column in columns:
        db.execute(f"alter table evaluation_samples add column {column}")
    db.execute("create index evaluation_samples_by_answer on evaluation_samples(answer_id)")
    key = "answer_id text not null, scorer text not null"
    db.execute(f"create table answer_scores ({key}, logp real not null, primary key (answer_id, scorer))")


@migrations(name="0008_likelihood_and_origin")
def likelihood_and_origin(db: Database) -> None:
    """Add the likelihood of a sample under the plain prompt, and where an adapter comes from that no round made.

    `plain_logp`: natural log-probability, mean over the completion's tokens; null if it was not needed.
    """
    db.execute("alter table samples add column plain_logp real")
    db.execute("alter table adapters add column origin text")


@migrations(name="0007_events")
def events(db: Database) -> None:
    """Add the table of notices and warnings; the rounds of earlier versions have none."""
    columns = """id integer primary key, round_id integer not null references rounds(id), stage text not null,
        kind text not null, severity text not null check (severity in ('notice', 'warning')), text text not null,
        at_utc text not null"""
    db.execute(f"create table events ({columns})")
    db.execute("create index events_by_round on events(round_id, stage, kind)")


@migrations(name="0011_user_answers")
def user_answers(db: Database) -> None:
    """Add the table of the user's own answers, which nothing else refers to (`store/user_answers.py`)."""
    db.execute(
        """create table user_answers (
             id integer primary key, question text not null, entry_point text not null, input text not null,
             code_a text not null, code_b text not null, output_a text not null, output_b text not null,
             choice text not null check (choice in ('a', 'b', 'neither')), model_sha256 text not null,
             prompt_token_ids text not null, token_ids_a text not null, token_ids_b text not null,
             created_at_utc text not null)"""
    )


@migrations(name="0010_forms_of_adapters")
def forms_of_adapters(db: Database) -> None:
    """Add the form of each adapter: `gguf`, a GGUF LoRA file, or `mlx`, a folder as mlx-lm writes it.

    The columns that name the file and its hash lose `gguf` from their names, because they are of either form.
    """
    for column in ("path", "sha256"):
        db.execute(f"alter table adapters rename column gguf_{column} to {column}")
    form = "form text not null default 'gguf' check (form in ('gguf', 'mlx'))"
    db.execute(f"alter table adapters add column {form}")


@migrations(name="0012_use")
def learning_from_use(db: Database) -> None:
    """Add the tables of kept questions, of choices that hold for the home, and of scheduled nights."""
    db.execute(
        """create table kept_questions (
             id integer primary key, question text not null unique, problem text not null,
             edited integer not null default 0, taken integer not null default 1, votes text not null,
             created_at_utc text not null)"""
    )
    db.execute("create table choices (name text primary key, value text not null)")
    db.execute(
        """create table nights (
             id integer primary key, started_at_utc text not null, ended_at_utc text,
             round_id integer references rounds(id), summary text not null)"""
    )


@migrations(name="0013_scores_belong_to_rounds")
def scores_belong_to_rounds(db: Database) -> None:
    """Let every round score a sample that votes in it: the scores get the number of the round that gave them."""
    db.execute("alter table sample_scores rename to old_sample_scores")
    columns = "sample_id text not null references samples(id), cluster integer, consensus real not null"
    key = "round_id integer not null references rounds(id)"
    db.execute(f"create table sample_scores ({key}, {columns}, primary key (round_id, sample_id))")
    db.execute(
        """insert into sample_scores select s.round_id, o.sample_id, o.cluster, o.consensus
           from old_sample_scores o join samples s on s.id = o.sample_id order by o.rowid"""
    )
    db.execute("drop table old_sample_scores")
