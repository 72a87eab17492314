"""Tables of the question book: phrasings, verbs, opposites, reasons.

`instructions` makes entries of them. A phrasing behind "*" is held out; one
behind "+" is for finetuning, and stands in no page that the base reads.
"""

# These are tables, not code: the formatter leaves them as they are.
# fmt: off

PHRASINGS = {
    "hero": """
Who is the story about?
Who is the main person of the story?
Please tell me who the story is about.
Name the person whom the story is about.
Find the main person in this text.
About whom is this text?
Say who the main person is.
Of whom does the story tell?
Who is the first person in the story?
* Can you tell me who this story is about?
* Give me the name of the main person, please.
* Whose story is this?""",
    "friend": """
Who is the other person in the story?
Who else has a name in the story?
Besides {hero}, who has a name in the story?
Name the person who comes second in the story.
Which other name do you find in the text?
{hero} is one person of the story. Who is the other one?
Please name the second person of the story.
Find the name that is not {hero}.
Whom does {hero} have to do with in this story?
* Who is in the story together with {hero}?
* Tell me the name of the other person, please.
* Can you find the second name in this text?""",
    "place": """
Where does the story begin?
Where is {hero} at the beginning?
Please say where the story begins.
At which place does the text begin?
Name the place where it all begins.
Tell me where {hero} is in the first sentence.
Find the place where the story begins.
In the first sentence, where is {hero}?
What is the first place in the story?
* Where are we when the story begins?
* Can you tell me where {hero} is at first?
* Say in which place it begins, please.""",
    "day": """
On which day does the story begin?
Which day is it at the beginning?
What day of the week is it when the story begins?
Please tell me on which day it begins.
Find the day on which the story begins.
Name the first day in the text.
Say which day it is at first.
Which day of the week comes first in the text?
It all begins on one day of the week. Which one?
* What day is it in the beginning, please?
* Can you say on which day the story begins?
* Give me the first day of the story.""",
    "weather": """
What is the weather like?
How is the weather in the story?
Please tell me how the weather is.
Tell me how the weather was.
Give the weather of that day in one word.
What was the weather like on that day?
How was the weather?
In one word, how is the weather?
Say what the weather is like.
* Can you tell me what the weather was like?
* What sort of weather is it in this text?
* Tell me the weather of that day, please.""",
    "colour": """
What colour is the {thing}?
Which colour does the {thing} have?
Please tell me the colour of the {thing}.
What is the colour of the {thing}?
Name the colour of the {thing}.
Find out what colour the {thing} is.
Say what colour the {thing} has.
The text has a {thing} in it. What is its colour?
Of what colour is the {thing}?
* In which colour is the {thing}?
* Can you say what colour the {thing} is?
* Give me the colour of the {thing}, please.""",
    "thing": """
What is {colour}?
Which thing is {colour}?
Please name the thing that is {colour}.
What in the text is {colour}?
Find the thing that is {colour}.
Name what is {colour} in this text.
Something in the text is {colour}. What is it?
Say which thing has the colour {colour}.
Tell me what is {colour} here.
* Can you find something {colour} in the text?
* What has the colour {colour}, please?
* Which thing in the story is a {colour} one?""",
    "feeling": """
How does {hero} feel in the end?
How is {hero} in the end?
What does {hero} feel at the end of the story?
Please say how {hero} feels in the end.
Which word tells how {hero} feels in the end?
Find the word for what {hero} feels at the end.
In the last sentence, how does {hero} feel?
Tell me how {hero} feels when the story is over.
In one word, how does {hero} feel at last?
* Can you tell me how {hero} feels at the end?
* What is the feeling of {hero} in the end?
* When all is over, how does {hero} feel, please?""",
    "first": """
What is the first sentence?
Write the first sentence of the text.
Please copy the first sentence.
Which sentence comes first?
With which sentence does the text begin?
Copy the sentence at the beginning.
Give me the first sentence.
Read the text and write down its first sentence.
How does the text begin? Give the whole sentence.
* Can you tell me the first sentence?
* Show me the sentence that comes first, please.
* What does the text say at first? One sentence.""",
    "last": """
What is the last sentence?
Write the last sentence of the text.
Please copy the last sentence.
Which sentence comes last?
With which sentence does the text end?
Copy the sentence at the end.
Give me the last sentence.
Read the text and write down its last sentence.
How does the text end? Give the whole sentence.
* Can you tell me the last sentence?
* Show me the sentence that comes last, please.
* What does the text say in the end? One sentence.""",
    "after": """
Which sentence comes after "{cue}"
What comes right after "{cue}"
Find the sentence that follows "{cue}"
Please copy the sentence after "{cue}"
What does the text say after "{cue}"
Write down the sentence that comes after "{cue}"
After "{cue}" comes another sentence. Which one?
Look for "{cue}" What comes next?
Give me the next sentence after "{cue}"
* Can you tell me which sentence follows "{cue}"
* What happens right after this? "{cue}"
* Read on from "{cue}" Which sentence is next, please?""",
    "before": """
Which sentence comes before "{cue}"
What comes right before "{cue}"
Find the sentence that stands before "{cue}"
Please copy the sentence before "{cue}"
What does the text say before "{cue}"
Write down the sentence that comes before "{cue}"
Before "{cue}" comes another sentence. Which one?
Look for "{cue}" What came just before it?
Give me the sentence that leads up to "{cue}"
* Can you tell me which sentence comes before "{cue}"
* What happens right before this? "{cue}"
* Go back from "{cue}" What was told just before, please?""",
    "quote": """
What did {speaker} say?
What does {speaker} say in the text?
Which words did {speaker} say?
Please repeat what {speaker} said.
Give the words of {speaker}.
Write down what {speaker} says.
Copy the words that {speaker} said.
{Speaker} says something. What is it?
Find what {speaker} said.
* Can you tell me what {speaker} said?
* Let me hear the words of {speaker}, please.
* In the text {speaker} speaks. What are the words?""",
    "names": """
Which names are in the text?
List the names in the text.
Please list all names, in order.
Name everyone who has a name in the text.
Write down the names that you find.
Find all names in the text.
Give me a list of the names.
What are the names of the people?
Copy the names from the text, in order.
* Can you list the names in this text?
* Make a list of all the names, please.
* Which people are called by name?""",
    "count": """
How many sentences are there?
Count the sentences.
Please count the sentences of the text.
How many sentences does the text have?
Of how many sentences is the text made?
Give me the number of sentences.
Say how many sentences you see.
What is the number of sentences in this text?
Tell me how many sentences stand here.
* Can you count the sentences for me?
* The text has how many sentences?
* How long is this text, in sentences, please?""",
    "mention": """
Does the text speak of {what}? Say yes or no.
Is {what} in the text?
Is there anything about {what} in the text?
Do we hear of {what}? Yes or no?
Please say yes or no: does the text name {what}?
Yes or no: is {what} in the story?
Can you find {what} in the text? Yes or no?
Look for {what} in the text. Is it there?
Does {what} come up in the text?
* Is {what} named anywhere here? Answer yes or no.
* Tell me if {what} comes up in this text, yes or no.
* Have we read about {what}? Yes or no, please.""",
    "unsaid": """
{question}
{question} Say so if the text does not tell.
{question} If the text does not say, tell me.
Does the text say it? {question}
Only if the text says so: {lower}
{question} Do not guess.
Look in the text: {lower}
Please answer only from the text: {lower}
Read and answer: {lower}
* {question} Or does the text not say?
* Can you find this in the text? {question}
* Tell me, if the text says so: {lower}""",
    "ending": """
Which ending is right?
Choose the right ending.
Which of the two is the end of the story?
Please choose the sentence that fits the story.
Only one ending fits. Which one?
Pick the ending that goes with the story.
How does the story end? Choose one.
One of the endings is wrong. Copy the right one.
Find the ending that is right.
* Can you tell which ending fits the story?
* Which end would you choose, please?
* Take the better one of these endings.""",
    "who": """
Who {fact}?
Which person {fact}?
Find the person who {fact}.
Please tell me who {fact}.
Name the one who {fact}.
Which of the people {fact}?
Say who {fact}.
Someone {fact}. Who is it?
Give me the name of the person who {fact}.
* Do you know who {fact}?
* Can you find out who {fact}, please?
* I want to know who {fact}.""",
    "why": """
Why {why}?
Why {why}? Give the reason.
Tell me why {event}.
Please say why {event}.
What is the reason that {event}?
Find the reason why {event}.
For what reason {why}?
Give the reason why {event}.
We read that {event}. Why?
* Can you tell me why {event}?
* How come {event}?
* I want to know why {event}, please.""",
    "tense": """
Put the sentence into the past.
Write the sentence in the past.
Change this sentence to the past.
Please turn it into the past.
Say that it was so yesterday, in the past.
Make it a sentence about the past.
Tell it as something that is over.
Write it in the past, not in the present.
How do you say this in the past?
* Can you put this into the past?
* Tell this as if it had been long ago.
* Please rewrite the sentence so that it is about the past.""",
    "polite": """
Make this a polite question.
Ask for it politely.
Turn the order into a polite question.
Please make this more polite.
How would you ask this politely?
Write it as a polite question.
Say it in a polite way.
This is not polite. Make it better.
Change the order into a kind question.
* Can you say this more politely?
* A polite child would ask. What would it say?
* Put this in a friendly way, as a question, please.""",
    "negate": """
Say that it is not so.
Make the sentence say no, with "not".
Put "not" into the sentence.
Write the sentence with "not".
Please deny it.
Deny what the sentence says.
Change the sentence so that it is not so.
This is wrong. Write it with "not".
Turn it into a sentence with "not".
* Can you deny this sentence?
* Write down that this is not the case.
* It is not true. Say so with "not", please.""",
    "question": """
Make a question of it.
Turn the sentence into a question.
Ask if it is so.
Please write it as a question.
Change the sentence into a question.
Write a question that has yes or no as answer.
You are not sure if this is so. Ask.
Put this as a question.
How would you ask if this is so?
* Can you turn this into a question?
* Rewrite this so that it asks something, please.
* Find out by asking if this is so.""",
    "opposite": """
Say the opposite.
Put the opposite of "{word}" into the sentence.
Change "{word}" to its opposite.
Write the sentence with the opposite of "{word}".
Please say the opposite of this.
Turn "{word}" into its opposite.
Write the opposite.
In the sentence, take the opposite of "{word}".
Use the opposite word for "{word}".
* Can you say the opposite of this?
* Make it the other way round: not "{word}", but the opposite.
* Swap "{word}" for its opposite, please.""",
    "spelling": """
Fix the spelling.
One word is spelt wrong. Write the sentence as it should be.
Please put the spelling right.
There is a mistake in the spelling. Mend it.
Find the wrong word and write the sentence again.
Write the sentence without the mistake.
Mend the word that is wrong.
A letter is wrong in this sentence. Put it right.
Write the sentence again with the right spelling.
* Can you mend the spelling in this sentence?
* Somebody made a mistake here. How should it be?
* Correct the spelling, please.""",
    "rename": """
Change the name {old} to {new}.
Write {new} for {old}.
Put {new} in the place of {old}.
Please call {old} {new}.
Write the text again with {new}, not {old}.
Let it be about {new}, not {old}.
Take the name {new} for {old}.
Swap the name {old} for {new}.
Tell the same of {new}, not of {old}.
* Can you write {new} where it says {old}?
* Now the name is not {old}, but {new}. Write it so.
* Give {old} the name {new}, please.""",
    "join": """
Make one sentence of the two.
Put the two sentences together.
Join the sentences with "and".
Please make one sentence of this.
Say it in one sentence.
Turn the two sentences into one.
Write one sentence with "and".
Use "and" to make one sentence.
How can you say both in one sentence?
* Can you say this in one sentence?
* Two sentences are too many. Make it one.
* Bring both together in a single sentence, please.""",
    "order": """
Put these {what} in order.
Write the {what} in order.
Please order the {what}.
Bring the {what} into order.
These {what} are mixed up. Put them right.
In which order do these {what} come?
Put the {what} in the right order.
List the {what} in order.
Say these {what} as they come, in order.
* Can you put the {what} in order?
* Sort the {what}, please.
* Give me the same {what}, but in the right order.""",
    "when": """
On which day did {who} {did}?
Which day was it when {who} {did_past}?
Tell me on which day {who} {did_past}.
When did {who} {did}?
Please say when {who} {did_past}.
Find out on which day {who} {did_past}.
What day of the week did {who} {did}?
Name the day on which {who} {did_past}.
Say on which day {who} {did_past}.
* Can you tell me when {who} {did_past}?
* {who} {did_past}. Which day was that?
* Work out the day on which {who} {did_past}, please.""",
    "series": """
What comes next?
Go on with the list.
Which word comes next?
Please add the next word.
Finish the list with one more word.
Add one word to the list.
How does the list go on?
Write the word that comes next.
What is the next word of the list?
* Can you go on with this?
* One word is missing at the end. Which one?
* Say what should follow, please.""",
    "odd": """
Which word does not fit?
Find the word that does not fit.
One word does not belong here. Which one?
Please say which word is different.
Name the word that is not like the others.
Which one is not like the others?
Three words go together. Which one does not?
Pick the word that does not belong.
Write down the word that is different.
* Can you find the word that is out of place?
* Which of these is the odd one out?
* Take out the one that does not go with the rest, please.""",
}

# -------------------------------------------------------------- sentences ---
# base form, with -s, past; what follows.

VERBS = """
find finds found|a {colour} {thing}
lose loses lost|the {colour} {thing}
buy buys bought|a {colour} {thing} from the {role}
sell sells sold|a {thing} to the {role}
bring brings brought|the {thing} to the {place}
take takes took|the {colour} {thing} home
give gives gave|the {role} a {thing}
see sees saw|a {animal} near the {place}
hear hears heard|the {animal} behind the {nook}
go goes went|to the {place}
run runs ran|to the {goal}
walk walks walked|to the {place} with the {animal}
sit sits sat|near the {nook}
stand stands stood|behind the {spot}
jump jumps jumped|over the {spot}
look looks looked|behind the {spot}
ask asks asked|the {role} for a {tool}
tell tells told|the {role} a secret
play plays played|{game} with the {role}
sing sings sang|to the {animal}
wait waits waited|at the {place}
work works worked|for the {role}
help helps helped|the {role}
like likes liked|the {colour} {thing}
need needs needed|a {tool}
want wants wanted|a {colour} {thing}
have has had|a {colour} {thing}
keep keeps kept|the {thing} behind the {nook}
hold holds held|the {colour} {thing}
put puts put|the {thing} behind the {nook}
drop drops dropped|the {colour} {thing}
break breaks broke|the {gadget}
wrap wraps wrapped|the {thing} in {wrap} paper
eat eats ate|{treat} with the {role}
get gets got|a bag of {treat}
borrow borrows borrowed|a {tool} from the {role}
live lives lived|near the {place}
dance dances danced|round the {spot}
dream dreams dreamed|of {bird}
forget forgets forgot|the {thing}
come comes came|to the {place} with a {thing}
write writes wrote|a letter to the {role}
know knows knew|the {role}
bake bakes baked|a cake for the {role}
"""

AUXILIARIES = """
is|at the {place}
is|{mood}
is|a {role}
is|behind the {spot}
was|at the {place}
was|{mood}
was|near the {goal}
can|play {game}
can|see the {place}
can|mend the {gadget}
can|find the {thing}
will|bring the {thing}
will|go to the {place}
will|help the {role}
will|buy a {colour} {thing}
should|ask the {role}
"""

ORDERS = """
give me the {colour} {thing}
give me a {thing}
bring me a bag of {treat}
bring me the {tool}
bring the {thing} to the {place}
help me with the {gadget}
help the {role}
hold the {thing} for me
wait for me at the {place}
wait for the {role}
show me the {thing}
show me the {place}
lend me your {tool}
tell me a story
tell me about the {role}
come to the {goal} on {day}
come with me to the {place}
open the {colour} box
close the door
look behind the {nook}
put the {thing} behind the {nook}
take the {animal} home
feed the {animal}
mend the {gadget}
play {game} with me
sing a song for the {role}
write to the {role}
pass me the {treat}
find my {colour} {thing}
carry the {thing} to the {place}
"""

# Two opposites; of what one says that.

OPPOSITES = """
big small|thing animal place
old new|thing gadget tool
clean dirty|thing tool animal
heavy light|thing tool gadget
cheap expensive|thing gadget tool
wet dry|thing animal role
full empty|place shelter
long short|tool spot
thick thin|thing spot
high low|spot shelter
wide narrow|spot place
strong weak|animal role
rich poor|role
happy sad|role animal
fast slow|animal role
loud quiet|animal place role
good bad|role tool
safe dangerous|place spot
hot cold|place shelter
dark bright|place shelter
"""

# ---------------------------------------------------------------- reasons ---

GLAD_REASONS = """
{his} {animal} had come home
{he} had found {his} {colour} {thing}
{he} had won a {colour} {thing}
the {role} had given {him} {treat}
the {gadget} worked again
the sun was out
{he} could play {game} with the {role}
{his} birthday was on {day}
the {plant} had grown
the {role} had said thank you
"""

SAD_REASONS = """
{his} {animal} was gone
{he} had lost {his} {colour} {thing}
{his} {thing} was broken
the {role} had forgotten {him}
the {gadget} did not work
it rained all day
nobody would play {game} with {him}
there were no {treat} left
the {plant} never came up
a {animal} had run off with the {thing}
"""

NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
